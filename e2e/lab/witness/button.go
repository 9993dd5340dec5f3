package main

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

const (
	inputEventBytes = 24 // struct input_event on 64 bit: time (16), type, code, value
	eventKey        = 1
	keyPower        = 116
)

// watchPowerButton opens all input devices and, from then on, shuts down when the power button of any is pressed.
func watchPowerButton() {
	devices, _ := filepath.Glob("/dev/input/event*")
	for _, device := range devices {
		if file, err := os.Open(device); err == nil {
			go powerOffWhenPressed(file)
		}
	}
}

func powerOffWhenPressed(device *os.File) {
	for event := make([]byte, inputEventBytes); ; {
		if _, err := io.ReadFull(device, event); err != nil {
			return
		}
		kind, code := binary.LittleEndian.Uint16(event[16:]), binary.LittleEndian.Uint16(event[18:])
		if pressed := event[20] == 1; kind == eventKey && code == keyPower && pressed {
			say("POWER-BUTTON")
			_ = syscall.Kill(1, syscall.SIGUSR2) // init takes it for "power off"
		}
	}
}
