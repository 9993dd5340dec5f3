module quorate.dev/e2e/lab/witness

go 1.24
