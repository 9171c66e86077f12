"""Many runs: sweeps, their results, tables, pages, pictures and analyses."""
