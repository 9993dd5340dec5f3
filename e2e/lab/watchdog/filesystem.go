package main

import (
	"encoding/json"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The files of the file system. Only the device is bound into the host; the others are the lab's.
const (
	rootNode   = fuse.FUSE_ROOT_ID
	deviceNode = 2 // watchdog0: the device
	stateNode  = 3 // state: its State as JSON
	powerNode  = 4 // power: "off" written here says that the power switch was used, "stopped" that the host ended
)

var nodes = map[string]uint64{"watchdog0": deviceNode, "state": stateNode, "power": powerNode}

// fileSystem shows a Device as a file whose ioctls, opens and closes reach it.
type fileSystem struct {
	fuse.RawFileSystem
	device *Device
	reset  *HostReset

	mu      sync.Mutex
	handle  uint64 // of the present opener: a close of an opener from before a reset must not count
	closing bool   // the present opener, or a copy of its descriptor, was closed
	readers uint64
	states  map[uint64][]byte // what each reader of the state was shown when it opened it
}

// How long an open waits for the release of an opener that was closed. FUSE tells of the last close only after close(2)
// has returned; a device is free by then, so whoever opens it next must not find it busy.
const releaseDelay = time.Second

func newFileSystem(device *Device, reset *HostReset) *fileSystem {
	states := map[uint64][]byte{}
	return &fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), device: device, reset: reset, states: states}
}

func (f *fileSystem) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	node, ok := nodes[name]
	if !ok {
		return fuse.ENOENT
	}
	out.NodeId = node
	attributes(node, &out.Attr)
	return fuse.OK
}

func (f *fileSystem) GetAttr(_ <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	attributes(input.NodeId, &out.Attr)
	return fuse.OK
}

// SetAttr lets `echo x > watchdog0` through, which truncates first.
func (f *fileSystem) SetAttr(_ <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	attributes(input.NodeId, &out.Attr)
	return fuse.OK
}

func (f *fileSystem) ReadDir(_ <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if input.Offset > 0 {
		return fuse.OK
	}
	for name, node := range nodes {
		out.AddDirEntry(fuse.DirEntry{Name: name, Ino: node, Mode: syscall.S_IFREG})
	}
	return fuse.OK
}

func (f *fileSystem) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return fuse.OK
}

func (f *fileSystem) Open(_ <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NONSEEKABLE
	if input.NodeId == stateNode {
		return f.openState(out)
	}
	if input.NodeId != deviceNode {
		return fuse.OK
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		errno, closing := f.open(input.Pid, out)
		if errno != syscall.EBUSY || !closing || time.Since(began) > releaseDelay {
			return fuse.Status(errno)
		}
	}
}

// openState keeps what the reader is shown: a state that is read in parts must be one state.
func (f *fileSystem) openState(out *fuse.OpenOut) fuse.Status {
	text, err := json.Marshal(f.device.State())
	if err != nil {
		return fuse.ToStatus(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	f.states[f.readers] = append(text, '\n')
	out.Fh = f.readers
	return fuse.OK
}

func (f *fileSystem) open(pid uint32, out *fuse.OpenOut) (errno syscall.Errno, closing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errno := f.device.Open(pid); errno != 0 {
		return errno, f.closing
	}
	f.handle++
	f.closing = false
	out.Fh = f.handle
	return 0, false
}

// Flush comes with each close(2), before it returns.
func (f *fileSystem) Flush(_ <-chan struct{}, input *fuse.FlushIn) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if input.NodeId == deviceNode && input.Fh == f.handle {
		f.closing = true
	}
	return fuse.OK
}

func (f *fileSystem) Release(_ <-chan struct{}, input *fuse.ReleaseIn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case input.NodeId == stateNode:
		delete(f.states, input.Fh)
	case input.NodeId == deviceNode && input.Fh == f.handle:
		f.device.Close()
	}
}

// Read never answers with more than was asked for: the kernel makes EIO of it. What it asks for may be little: a request is
// one page long at most, and ends where a page of the reader's buffer does.
func (f *fileSystem) Read(_ <-chan struct{}, input *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	if input.NodeId != stateNode {
		return nil, fuse.EINVAL
	}
	f.mu.Lock()
	text := f.states[input.Fh]
	f.mu.Unlock()
	from := min(input.Offset, uint64(len(text)))
	to := min(from+uint64(input.Size), uint64(len(text)))
	return fuse.ReadResultData(text[from:to]), fuse.OK
}

func (f *fileSystem) Write(_ <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	switch input.NodeId {
	case deviceNode:
		if !f.current(input.Fh) {
			return 0, fuse.Status(syscall.ENODEV)
		}
		return uint32(len(data)), fuse.Status(f.device.Write(data))
	case powerNode:
		return uint32(len(data)), f.power(strings.TrimSpace(string(data)))
	}
	return 0, fuse.EACCES
}

func (f *fileSystem) power(word string) fuse.Status {
	switch word {
	case "off":
		f.reset.Cancel()
		f.device.PowerOff()
	case "stopped":
		f.device.HostStopped()
	default:
		return fuse.EINVAL
	}
	return fuse.OK
}

func (f *fileSystem) Ioctl(_ <-chan struct{}, input *fuse.IoctlIn, in []byte, output *fuse.IoctlOut, out []byte) fuse.Status {
	if input.NodeId != deviceNode {
		return fuse.Status(syscall.ENOTTY)
	}
	if !f.current(input.Fh) {
		return fuse.Status(syscall.ENODEV)
	}
	return fuse.Status(ioctl(f.device, input.Cmd, input.Pid, input.Arg, in, out))
}

func (f *fileSystem) current(handle uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return handle == f.handle
}

func attributes(node uint64, out *fuse.Attr) {
	out.Ino = node
	out.Nlink = 1
	out.Mode = syscall.S_IFREG | 0o600
	if node == rootNode {
		out.Mode = syscall.S_IFDIR | 0o700
		out.Nlink = 2
	}
}
