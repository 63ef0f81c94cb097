"""How far a study is, as records and leases in its folder say, whoever runs it and wherever."""
