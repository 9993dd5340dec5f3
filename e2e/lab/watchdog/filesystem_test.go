package main

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func openDevice(f *fileSystem) (uint64, fuse.Status) {
	out := &fuse.OpenOut{}
	status := f.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: deviceNode}}, out)
	return out.Fh, status
}

func newTestFileSystem() *fileSystem {
	log := &EventLog{out: io.Discard}
	return newFileSystem(NewDevice(60, log, func() {}), nil)
}

func TestOpenRightAfterACloseWaitsForItsRelease(t *testing.T) {
	f := newTestFileSystem()
	first, _ := openDevice(f)
	f.Flush(nil, &fuse.FlushIn{InHeader: fuse.InHeader{NodeId: deviceNode}, Fh: first})
	time.AfterFunc(100*time.Millisecond, func() {
		f.Release(nil, &fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: deviceNode}, Fh: first})
	})
	if _, status := openDevice(f); status != fuse.OK {
		t.Fatalf("open after close: %v", status)
	}
}

func TestOpenBesideAnOpenerIsBusyAtOnce(t *testing.T) {
	f := newTestFileSystem()
	openDevice(f)
	began := time.Now()
	if _, status := openDevice(f); status != fuse.Status(syscall.EBUSY) {
		t.Fatalf("second open: %v, want EBUSY", status)
	}
	if took := time.Since(began); took > releaseDelay/2 {
		t.Fatalf("EBUSY after %v", took)
	}
}

func TestReadAnswersNoMoreThanAskedAndOneState(t *testing.T) {
	f := newTestFileSystem()
	openDevice(f)
	state := fuse.InHeader{NodeId: stateNode}
	out := &fuse.OpenOut{}
	if status := f.Open(nil, &fuse.OpenIn{InHeader: state}, out); status != fuse.OK {
		t.Fatal(status)
	}
	read := func(offset uint64, size uint32) string {
		result, status := f.Read(nil, &fuse.ReadIn{InHeader: state, Fh: out.Fh, Offset: offset, Size: size}, nil)
		if status != fuse.OK {
			t.Fatalf("read at %d: %v", offset, status)
		}
		text, _ := result.Bytes(nil)
		return string(text)
	}
	first := read(0, 10)
	f.device.SetTimeout(3600) // a longer state than the one that was opened
	whole := read(0, 8192)
	if len(first) != 10 || first+read(10, 8192) != whole {
		t.Fatalf("read in parts: %q, then another than %q", first, whole)
	}
	if rest := read(uint64(len(whole)), 10); rest != "" {
		t.Fatalf("read at the end: %q", rest)
	}
	f.Release(nil, &fuse.ReleaseIn{InHeader: state, Fh: out.Fh})
	if len(f.states) != 0 {
		t.Fatal("kept after the close")
	}
}
