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
	"strings"
)

// console is where a test reads; the shell on it belongs to the user.
var console = os.Stdout

func main() {
	if len(os.Args) > 1 && os.Args[1] == "grow" {
		growRoot()
		return
	}
	boot := word("/proc/sys/kernel/random/boot_id")
	watchPowerButton()
	// Whoever reads this line may type, and press the button.
	say("READY boot=%s ticks=%s uptime=%s", boot, word("/data/ticks"), word("/proc/uptime"))
	if _, err := os.Stat(lockDisk); err == nil {
		go watchLock(lockDisk, boot)
	}
	countTicks("/data/ticks")
}

// word is the first word of a file, or "unknown".
func word(file string) string {
	text, err := os.ReadFile(file)
	if words := strings.Fields(string(text)); err == nil && len(words) > 0 {
		return words[0]
	}
	return "unknown"
}

func say(format string, args ...any) {
	fmt.Fprintf(console, format+"\n", args...)
}
