// Command witness runs inside a test guest and makes visible from outside what happened to it:
//
//   - /data/ticks counts seconds of life, synced to the disk each second: how old is the data of a copy?
//   - /dev/vdb, where there is one, is a disk that all hosts share: did this guest ever run twice at once?
//   - the power button (ACPI) shuts the guest down in order.
//
// Called as "witness grow" it lets the root file system fill its disk and ends.
package main

import (
	"fmt"
	"os"
)

// console is where a test reads; the shell on it belongs to the user.
var console = os.Stdout

func main() {
	if len(os.Args) > 1 && os.Args[1] == "grow" {
		growRoot()
		return
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown")
	}
	go powerButton()
	if _, err := os.Stat(lockDisk); err == nil {
		go watchLock(lockDisk, string(trimNewline(boot)))
	}
	countTicks("/data/ticks")
}

func say(format string, args ...any) {
	fmt.Fprintf(console, format+"\n", args...)
}

func trimNewline(text []byte) []byte {
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return text
}
