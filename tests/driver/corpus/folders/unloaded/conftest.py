collect_ignore = ["test_ignored.py"]
collect_ignore_glob = ["*_old.py"]
