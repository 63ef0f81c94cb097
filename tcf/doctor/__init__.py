"""What `tcf doctor` finds out: the installation, the machine, and what lies in folders. It runs without torch too."""
