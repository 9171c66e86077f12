"""What others' libraries compute of the same equations, each in an environment of its own."""
