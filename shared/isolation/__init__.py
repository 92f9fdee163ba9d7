"""Commands of a Project, run where they can reach nothing but their own: one interface, three runners."""
