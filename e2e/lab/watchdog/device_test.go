package main

import (
	"io"
	"syscall"
	"testing"
	"time"
)

func newTestDevice(seconds int) (*Device, chan time.Time) {
	expired := make(chan time.Time, 10)
	return NewDevice(seconds, &EventLog{out: io.Discard}, func() { expired <- time.Now() }), expired
}

func requireExpiry(t *testing.T, expired chan time.Time, from time.Time, after time.Duration) {
	t.Helper()
	select {
	case at := <-expired:
		if late := at.Sub(from) - after; late < 0 || late > 500*time.Millisecond {
			t.Fatalf("expired after %v, want %v", at.Sub(from), after)
		}
	case <-time.After(after + 2*time.Second):
		t.Fatalf("no expiry within %v", after+2*time.Second)
	}
}

func requireQuiet(t *testing.T, expired chan time.Time, quiet time.Duration) {
	t.Helper()
	select {
	case <-expired:
		t.Fatal("expired")
	case <-time.After(quiet):
	}
}

func TestOpenArmsAndOnlyOneMayOpen(t *testing.T) {
	d, expired := newTestDevice(1)
	opened := time.Now()
	if errno := d.Open(1); errno != 0 {
		t.Fatal(errno)
	}
	if errno := d.Open(2); errno != syscall.EBUSY {
		t.Fatalf("second open: %v, want EBUSY", errno)
	}
	requireExpiry(t, expired, opened, time.Second)
	if errno := d.Write([]byte("x")); errno != syscall.ENODEV {
		t.Fatalf("write by an opener from before the reset: %v, want ENODEV", errno)
	}
}

func TestPetStartsTheCountDownAgain(t *testing.T) {
	d, expired := newTestDevice(1)
	d.Open(1)
	time.Sleep(700 * time.Millisecond)
	petted := time.Now()
	d.Write([]byte{0})
	requireExpiry(t, expired, petted, time.Second)
}

func TestMagicCloseDisarms(t *testing.T) {
	d, expired := newTestDevice(1)
	d.Open(1)
	d.Write([]byte("V"))
	d.Close()
	requireQuiet(t, expired, 1500*time.Millisecond)
	if d.State().Armed {
		t.Fatal("still armed")
	}
}

func TestCloseWithoutMagicGoesOnCounting(t *testing.T) {
	for _, last := range []string{"", "x"} {
		d, expired := newTestDevice(1)
		d.Open(1)
		petted := time.Now()
		if last != "" {
			d.Write([]byte("V"))
			petted = time.Now()
			d.Write([]byte("x"))
		}
		d.Close()
		requireExpiry(t, expired, petted, time.Second)
	}
}

func TestTimeoutIsSetAndBounded(t *testing.T) {
	d, expired := newTestDevice(60)
	d.Open(1)
	for _, bad := range []int{-1, 0, maxTimeoutSeconds + 1} {
		if _, errno := d.SetTimeout(bad); errno != syscall.EINVAL {
			t.Fatalf("time-out %d: %v, want EINVAL", bad, errno)
		}
	}
	set := time.Now()
	if got, errno := d.SetTimeout(1); errno != 0 || got != 1 || d.Timeout() != 1 {
		t.Fatalf("time-out 1: got %d, %v, read back %d", got, errno, d.Timeout())
	}
	requireExpiry(t, expired, set, time.Second)
}

func TestBootStatusTellsAResetByTheDevice(t *testing.T) {
	d, expired := newTestDevice(1)
	d.Open(1)
	<-expired
	d.HostStopped()
	if !d.CardReset() {
		t.Fatal("a reset by the device is not told")
	}
	d.HostStopped()
	if d.CardReset() {
		t.Fatal("told after another, ordinary restart")
	}
}

func TestPowerOffDisarms(t *testing.T) {
	d, expired := newTestDevice(1)
	d.Open(1)
	d.PowerOff()
	requireQuiet(t, expired, 1500*time.Millisecond)
	d.Close() // of a process that died with the host
	if errno := d.Open(2); errno != 0 {
		t.Fatalf("open after power off: %v", errno)
	}
}
