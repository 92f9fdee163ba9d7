"""The Acme customer portal: four Systems, composed, and what Acme added."""
