module fan-out

go 1.24

require keyway v0.1.0

replace keyway => ../../../sdk/go
