// Command watchdog emulates the watchdog device of one lab host as a FUSE file system with the one file `watchdog0`,
// which the lab binds over /dev/watchdog0 of the host. When nobody pets it in time it resets the host.
//
// usage: watchdog -mount FOLDER -log FILE -cgroup FOLDER [-freezer FOLDER] [-policy FILE] [-timeout SECONDS] -- START [ARGUMENT ...]
//
// START is the program that gives the host its power back. It prints "ready" on standard output when the file is there.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "watchdog:", err)
		os.Exit(1)
	}
}

func run() error {
	mount := flag.String("mount", "", "folder to mount the file system on")
	logFile := flag.String("log", "", "file for the events, appended to")
	cgroup := flag.String("cgroup", "", "control group of the host in the unified hierarchy")
	freezer := flag.String("freezer", "", "control group of the host in the v1 freezer, where there is one")
	policy := flag.String("policy", "", "file that says what follows a reset")
	timeout := flag.Int("timeout", 60, "time-out in seconds after power on")
	flag.Parse()
	if *mount == "" || *logFile == "" || *cgroup == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(64)
	}
	out, err := os.OpenFile(*logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	log := &EventLog{out: out}
	reset := &HostReset{log: log, cgroup: *cgroup, freezer: *freezer, policy: *policy, start: flag.Args()}
	device := NewDevice(*timeout, log, reset.Expired)
	server, err := fuse.NewServer(newFileSystem(device, reset), *mount, &fuse.MountOptions{
		Name:               "watchdog",
		FsName:             "quorate-lab-watchdog",
		AllowOther:         true,
		DirectMountStrict:  true,
		DirectMountFlags:   syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC,
		DisableXAttrs:      true,
		DisableReadDirPlus: true,
		MaxWrite:           4096,
	})
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		_ = server.Unmount()
	}()
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return err
	}
	fmt.Println("ready")
	server.Wait()
	return nil
}
