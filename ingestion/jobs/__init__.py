"""Jobs: started in processes of their own, run, reported."""
