"""Who somebody is and how it is proven: keys, people's tokens, services' signatures."""
