"""What `tcf doctor` reports: the installation, the machine and the content of folders. It also works without torch."""
