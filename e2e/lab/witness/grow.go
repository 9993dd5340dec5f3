package main

import (
	"os"
	"syscall"
	"unsafe"
)

const (
	blkGetSize64     = 0x80081272 // bytes of a block device
	ext4IocResizeFs  = 0x40086610 // blocks the file system shall have
	ext4BlockBytes   = 4096       // as the image is made
	rootDisk         = "/dev/vda"
	rootOfFileSystem = "/"
)

// growRoot lets the root file system fill its disk, which is larger than the image it was copied from.
func growRoot() {
	disk, err := os.Open(rootDisk)
	if err != nil {
		return
	}
	defer disk.Close()
	root, err := os.Open(rootOfFileSystem)
	if err != nil {
		return
	}
	defer root.Close()
	var bytes uint64
	if errno := ioctl(disk, blkGetSize64, &bytes); errno != 0 {
		say("GROW-FAILED size of %s: %v", rootDisk, errno)
		return
	}
	blocks := bytes / ext4BlockBytes
	if errno := ioctl(root, ext4IocResizeFs, &blocks); errno != 0 {
		say("GROW-FAILED to %d blocks: %v", blocks, errno)
	}
}

func ioctl(file *os.File, request uintptr, value *uint64) syscall.Errno {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(unsafe.Pointer(value)))
	return errno
}
