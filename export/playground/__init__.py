"""The playground: a static page that shows a served model learn from a few examples."""
