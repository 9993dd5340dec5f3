package main

import (
	"bytes"
	"sync"
	"syscall"
	"time"
)

const (
	minTimeoutSeconds = 1
	maxTimeoutSeconds = 3600
)

// Device is the state of one emulated watchdog. It behaves as the kernel's watchdog core does with a driver that has
// WDIOF_SETTIMEOUT, WDIOF_KEEPALIVEPING and WDIOF_MAGICCLOSE and without nowayout:
//
//   - one opener at a time; opening arms it and starts the count-down,
//   - every write and WDIOC_KEEPALIVE starts the count-down again,
//   - closing disarms it only when a 'V' was the last thing written; any other close leaves it counting,
//   - when the count-down ends, onExpire is called once and the device is as after a power cycle.
//
// Time is the monotonic clock of this process, which no fault of the host can stop.
type Device struct {
	mu             sync.Mutex
	log            *EventLog
	onExpire       func()
	timeoutSeconds int
	defaultSeconds int
	open           bool
	armed          bool
	magic          bool
	resetByMe      bool // the host's last start followed an expiry
	resetting      bool // the host dies of an expiry right now
	deadline       time.Time
	timer          *time.Timer
	arming         int // counts armings and pets: a timer that fires late recognises that it is obsolete
	pets           int
	expirations    int
}

// State is what `quorate lab status` shows.
type State struct {
	Open           bool    `json:"open"`
	Armed          bool    `json:"armed"`
	TimeoutSeconds int     `json:"timeoutSeconds"`
	TimeLeft       float64 `json:"timeLeftSeconds"`
	Pets           int     `json:"pets"`
	Expirations    int     `json:"expirations"`
}

func NewDevice(defaultSeconds int, log *EventLog, onExpire func()) *Device {
	return &Device{timeoutSeconds: defaultSeconds, defaultSeconds: defaultSeconds, log: log, onExpire: onExpire}
}

// Open arms the device. EBUSY when somebody has it open.
func (d *Device) Open(pid uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return syscall.EBUSY
	}
	d.open, d.magic = true, false
	d.armLocked()
	d.log.Write("opened", map[string]any{"pid": pid, "timeoutSeconds": d.timeoutSeconds})
	return 0
}

// Write pets. The content counts only in whether it ends the 'V' of an orderly close.
func (d *Device) Write(data []byte) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(data) == 0 {
		return 0
	}
	d.magic = bytes.ContainsRune(data, 'V')
	return d.petLocked()
}

func (d *Device) KeepAlive() syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.petLocked()
}

// Close is the last close of the opener.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return
	}
	d.open = false
	if !d.armed {
		d.log.Write("closed", map[string]any{"armed": false})
		return
	}
	if d.magic {
		d.disarmLocked()
		d.log.Write("closed", map[string]any{"armed": false})
		return
	}
	d.log.Write("closed", map[string]any{"armed": true, "timeLeftSeconds": time.Until(d.deadline).Seconds()})
}

// SetTimeout counts from now on, as drivers do.
func (d *Device) SetTimeout(seconds int) (int, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if seconds < minTimeoutSeconds || seconds > maxTimeoutSeconds {
		return 0, syscall.EINVAL
	}
	d.timeoutSeconds = seconds
	d.log.Write("timeout-set", map[string]any{"timeoutSeconds": seconds})
	if d.armed {
		d.armLocked()
	}
	return seconds, 0
}

func (d *Device) Timeout() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.timeoutSeconds
}

// TimeLeft is rounded down to whole seconds, as the kernel's interface does.
func (d *Device) TimeLeft() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.armed {
		return 0
	}
	return int(time.Until(d.deadline) / time.Second)
}

// Enable and Disable are WDIOS_ENABLECARD and WDIOS_DISABLECARD.
func (d *Device) Enable() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.armed {
		d.armLocked()
	}
}

func (d *Device) Disable() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.disarmLocked()
	d.log.Write("disabled", nil)
}

// CardReset says whether the last start of the host followed an expiry.
func (d *Device) CardReset() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resetByMe
}

// HostStopped is what happens to the device when its host ends, for whatever reason: it forgets everything, save
// that it was itself the reason.
func (d *Device) HostStopped() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clearLocked()
	d.resetByMe, d.resetting = d.resetting, false
}

// PowerOff is the loss of power: it forgets that too.
func (d *Device) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clearLocked()
	d.resetByMe, d.resetting = false, false
}

func (d *Device) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := State{Open: d.open, Armed: d.armed, TimeoutSeconds: d.timeoutSeconds, Pets: d.pets, Expirations: d.expirations}
	if d.armed {
		s.TimeLeft = time.Until(d.deadline).Seconds()
	}
	return s
}

func (d *Device) petLocked() syscall.Errno {
	if !d.open {
		return syscall.ENODEV // the host was reset under the opener
	}
	d.pets++
	if d.armed {
		d.armLocked()
	}
	return 0
}

func (d *Device) armLocked() {
	timeout := time.Duration(d.timeoutSeconds) * time.Second
	d.stopTimerLocked()
	d.armed = true
	d.deadline = time.Now().Add(timeout)
	arming := d.arming
	d.timer = time.AfterFunc(timeout, func() { d.expire(arming) })
}

func (d *Device) disarmLocked() {
	d.armed = false
	d.stopTimerLocked()
}

func (d *Device) stopTimerLocked() {
	d.arming++
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (d *Device) clearLocked() {
	d.disarmLocked()
	d.open, d.magic = false, false
	d.timeoutSeconds = d.defaultSeconds
}

func (d *Device) expire(arming int) {
	d.mu.Lock()
	if !d.armed || arming != d.arming {
		d.mu.Unlock()
		return
	}
	d.expirations++
	d.log.Write("expired", map[string]any{"timeoutSeconds": d.timeoutSeconds, "open": d.open})
	d.clearLocked()
	d.resetByMe, d.resetting = true, true
	d.mu.Unlock()
	d.onExpire()
}
