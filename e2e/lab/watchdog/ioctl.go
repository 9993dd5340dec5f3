package main

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// Requests of linux/watchdog.h. FUSE copies the argument in and out by the size and direction in the number itself.
const (
	wdiocGetSupport    = 0x80285700
	wdiocGetStatus     = 0x80045701
	wdiocGetBootStatus = 0x80045702
	wdiocSetOptions    = 0x80045704
	wdiocKeepAlive     = 0x80045705
	wdiocSetTimeout    = 0xc0045706
	wdiocGetTimeout    = 0x80045707
	wdiocGetTimeLeft   = 0x8004570a

	wdiofCardReset     = 0x0020
	wdiofSetTimeout    = 0x0080
	wdiofMagicClose    = 0x0100
	wdiofKeepAlivePing = 0x8000

	wdiosDisableCard = 0x0001
	wdiosEnableCard  = 0x0002
)

const identity = "Quorate lab watchdog"

// ioctl answers one request. `in` and `out` are what FUSE copied for it, `address` and `pid` lead to the caller's memory.
func ioctl(d *Device, cmd uint32, pid uint32, address uint64, in, out []byte) syscall.Errno {
	switch cmd {
	case wdiocGetSupport:
		return reply(out, supportInfo())
	case wdiocGetStatus:
		return replyInt(out, 0)
	case wdiocGetBootStatus:
		if d.CardReset() {
			return replyInt(out, wdiofCardReset)
		}
		return replyInt(out, 0)
	case wdiocSetOptions:
		return setOptions(d, pid, address)
	case wdiocKeepAlive:
		return d.KeepAlive()
	case wdiocSetTimeout:
		if len(in) < 4 {
			return syscall.EINVAL
		}
		seconds, errno := d.SetTimeout(int(int32(binary.LittleEndian.Uint32(in))))
		if errno != 0 {
			return errno
		}
		return replyInt(out, seconds)
	case wdiocGetTimeout:
		return replyInt(out, d.Timeout())
	case wdiocGetTimeLeft:
		return replyInt(out, d.TimeLeft())
	}
	return syscall.ENOTTY
}

// supportInfo is struct watchdog_info: options, firmware version, identity.
func supportInfo() []byte {
	info := make([]byte, 40)
	binary.LittleEndian.PutUint32(info[0:], wdiofSetTimeout|wdiofMagicClose|wdiofKeepAlivePing|wdiofCardReset)
	binary.LittleEndian.PutUint32(info[4:], 1)
	copy(info[8:39], identity)
	return info
}

// setOptions reads its argument from the caller itself: the request's number says that it writes one (a slip in
// linux/watchdog.h that is ABI by now), so FUSE does not copy it in.
func setOptions(d *Device, pid uint32, address uint64) syscall.Errno {
	word := make([]byte, 4)
	local := []unix.Iovec{{Base: &word[0], Len: 4}}
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: 4}}
	if n, err := unix.ProcessVMReadv(int(pid), local, remote, 0); err != nil || n != 4 {
		return syscall.EFAULT
	}
	switch options := binary.LittleEndian.Uint32(word); {
	case options&wdiosDisableCard != 0:
		d.Disable()
	case options&wdiosEnableCard != 0:
		d.Enable()
	default:
		return syscall.EINVAL
	}
	return 0
}

func reply(out, data []byte) syscall.Errno {
	if len(out) < len(data) {
		return syscall.EINVAL
	}
	copy(out, data)
	return 0
}

func replyInt(out []byte, value int) syscall.Errno {
	return reply(out, binary.LittleEndian.AppendUint32(nil, uint32(value)))
}
