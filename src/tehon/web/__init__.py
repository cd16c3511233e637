"""The page: settings, plans and run directories in a browser. It reads what is there and starts what is asked for."""
