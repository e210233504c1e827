"""How models that generate text become entry points, one kind of model a file."""
