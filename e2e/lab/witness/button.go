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

// powerButton shuts down when the button of any input device is pressed: init (pid 1) takes SIGUSR2 for "power off".
func powerButton() {
	devices, _ := filepath.Glob("/dev/input/event*")
	for _, device := range devices {
		go func() {
			file, err := os.Open(device)
			if err != nil {
				return
			}
			for event := make([]byte, inputEventBytes); ; {
				if _, err := io.ReadFull(file, event); err != nil {
					return
				}
				kind, code := binary.LittleEndian.Uint16(event[16:]), binary.LittleEndian.Uint16(event[18:])
				if pressed := event[20] == 1; kind == eventKey && code == keyPower && pressed {
					say("POWER-BUTTON")
					_ = syscall.Kill(1, syscall.SIGUSR2)
				}
			}
		}()
	}
}
