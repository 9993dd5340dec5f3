package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// countTicks adds one to the number in the file each second. The file is replaced, so it is whole at every moment a
// snapshot may be taken.
func countTicks(file string) {
	count, _ := strconv.Atoi(word(file)) // 0 where there is no number
	for range time.Tick(time.Second) {
		count++
		next := file + ".new"
		if err := os.WriteFile(next, []byte(strconv.Itoa(count)+"\n"), 0o644); err != nil {
			say("TICKS-FAILED %v", err)
			continue
		}
		if err := os.Rename(next, file); err != nil {
			say("TICKS-FAILED %v", err)
		}
		syscall.Sync()
	}
}
