package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	lockDisk    = "/dev/vdb"
	sectorBytes = 512

	// The claim: whoever runs writes it again and again. "QUORATE-WITNESS boots=N boot=ID count=N".
	claimOffset = 0
	// The mark: written once, when two were seen at once, and never cleared. "TWICE …".
	markOffset = 8 * sectorBytes

	period = 200 * time.Millisecond
	// Before its first claim a guest looks this long whether another one still writes.
	listen = 4 * period
)

// watchLock proves mutual exclusion, or its breach, among all guests that share the disk.
//
// Every live guest writes a claim no other would write, each period, and reads before it writes. When it reads
// anything but its own last claim, somebody else wrote while it was alive: both ran at once. A guest that was frozen and
// goes on is alive too. Reads and writes bypass every cache of the guest.
func watchLock(path, boot string) {
	disk, err := openDirect(path)
	if err != nil {
		say("LOCK-FAILED %v", err)
		return
	}
	before, ok := disk.read(claimOffset)
	time.Sleep(listen)
	now, ok2 := disk.read(claimOffset)
	if ok && ok2 && !bytes.Equal(before, now) {
		disk.twice(boot, now)
	}
	boots := 1 + boots(now)
	for count := 1; ; count++ {
		own := sector(fmt.Sprintf("QUORATE-WITNESS boots=%d boot=%s count=%d", boots, boot, count))
		if !disk.write(claimOffset, own) {
			time.Sleep(period)
			continue
		}
		if count == 1 {
			say("LOCKED boots=%d", boots)
		}
		time.Sleep(period)
		if found, ok := disk.read(claimOffset); ok && !bytes.Equal(found, own) {
			disk.twice(boot, found)
		}
	}
}

// directDisk reads and writes single sectors with O_DIRECT, which wants aligned memory: a page of its own.
type directDisk struct {
	file *os.File
	page []byte
}

func openDirect(path string) (*directDisk, error) {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_DIRECT|syscall.O_DSYNC, 0)
	if err != nil {
		return nil, err
	}
	page, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	return &directDisk{file: file, page: page}, nil
}

func (d *directDisk) read(offset int64) ([]byte, bool) {
	buffer := d.page[:sectorBytes]
	if _, err := d.file.ReadAt(buffer, offset); err != nil {
		say("LOCK-FAILED %v", err)
		return nil, false
	}
	return bytes.Clone(buffer), true
}

func (d *directDisk) write(offset int64, content []byte) bool {
	buffer := d.page[:sectorBytes]
	copy(buffer, content)
	if _, err := d.file.WriteAt(buffer, offset); err != nil {
		say("LOCK-FAILED %v", err)
		return false
	}
	return true
}

// twice leaves the mark, if nobody has yet.
func (d *directDisk) twice(boot string, found []byte) {
	say("TWICE boot=%s found: %s", boot, bytes.TrimRight(found, "\n\x00 "))
	mark, ok := d.read(markOffset)
	if ok && bytes.HasPrefix(mark, []byte("TWICE")) {
		return
	}
	d.write(markOffset, sector(fmt.Sprintf("TWICE boot=%s found: %s", boot, bytes.TrimRight(found, "\n\x00 "))))
}

// sector pads a line with zeros.
func sector(text string) []byte {
	padded := make([]byte, sectorBytes)
	copy(padded, text+"\n")
	return padded
}

// boots is the number of boots a claim tells, 0 where there is none.
func boots(claim []byte) int {
	_, rest, found := bytes.Cut(claim, []byte("QUORATE-WITNESS boots="))
	if !found {
		return 0
	}
	number, _, _ := bytes.Cut(rest, []byte(" "))
	count, _ := strconv.Atoi(string(number))
	return count
}
