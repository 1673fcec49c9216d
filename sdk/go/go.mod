module keyway

go 1.24
