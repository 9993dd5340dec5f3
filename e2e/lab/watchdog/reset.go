package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// HostReset is the reset line of one host: it takes the host's power at once and may give it back later.
type HostReset struct {
	log *EventLog
	// Control group of the host in the unified hierarchy: writing to its cgroup.kill is the loss of power.
	cgroup string
	// Control group of the host in the v1 freezer, or "": a frozen host must be thawed for its processes to die.
	freezer string
	// File with an onReset as JSON, read at each expiry so that tests can change it.
	policy string
	// Program and arguments that start the host again.
	start []string

	mu     sync.Mutex
	cancel chan struct{}
}

type onReset struct {
	Reboot       bool `json:"reboot"`
	DelaySeconds int  `json:"delaySeconds"`
}

// Expired is called by the device. It returns when the host is dead; a reboot goes on behind.
func (r *HostReset) Expired() {
	began := time.Now()
	if err := r.kill(); err != nil {
		r.log.Write("kill-failed", map[string]any{"error": err.Error()})
		return
	}
	r.log.Write("killed", map[string]any{"milliseconds": float64(time.Since(began).Microseconds()) / 1000})
	policy := r.readPolicy()
	if !policy.Reboot {
		return
	}
	r.mu.Lock()
	cancel := make(chan struct{})
	r.cancel = cancel
	r.mu.Unlock()
	go r.startAfter(time.Duration(policy.DelaySeconds)*time.Second, cancel)
}

// Cancel gives up a pending start: somebody used the power switch.
func (r *HostReset) Cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		close(r.cancel)
		r.cancel = nil
	}
}

func (r *HostReset) kill() error {
	if err := os.WriteFile(filepath.Join(r.cgroup, "cgroup.kill"), []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		return err
	}
	if r.freezer == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(r.freezer, "freezer.state"), []byte("THAWED"), 0); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (r *HostReset) readPolicy() onReset {
	policy := onReset{Reboot: true, DelaySeconds: 3}
	text, err := os.ReadFile(r.policy)
	if err == nil {
		err = json.Unmarshal(text, &policy)
	}
	if err != nil && !os.IsNotExist(err) {
		r.log.Write("policy-unreadable", map[string]any{"error": err.Error()})
	}
	return policy
}

// startAfter tries a few times: what is left of the host may still be ending when the delay is short.
func (r *HostReset) startAfter(delay time.Duration, cancel <-chan struct{}) {
	for attempt := 1; attempt <= 5; attempt++ {
		select {
		case <-cancel:
			return
		case <-time.After(delay):
		}
		out, err := exec.Command(r.start[0], r.start[1:]...).CombinedOutput()
		if err == nil {
			r.log.Write("started", map[string]any{"attempt": attempt})
			return
		}
		r.log.Write("start-failed", map[string]any{"attempt": attempt, "error": err.Error(), "output": string(out)})
		delay = 500 * time.Millisecond
	}
}
