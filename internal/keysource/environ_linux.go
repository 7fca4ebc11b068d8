package keysource

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// overwriteBlock wipes a variable's value in the block of environment strings that the kernel handed to this process. It
// goes through the kernel, which answers a wrong address with an error, where a pointer would be a crash.
func overwriteBlock(name, value string) {
	start, end, ok := block()
	if !ok {
		return
	}
	raw := make([]byte, end-start)
	defer clear(raw)
	n, err := unix.ProcessVMReadv(os.Getpid(), iovec(raw), []unix.RemoteIovec{{Base: start, Len: len(raw)}}, 0)
	if err != nil || n != len(raw) {
		return
	}
	entry := []byte("\x00" + name + "=" + value + "\x00")
	defer clear(entry)
	text := append([]byte{0}, raw...)
	defer clear(text)
	for at := 0; ; {
		i := bytes.Index(text[at:], entry)
		if i < 0 {
			return
		}
		at += i + len(entry) - len(value) - 1 // the value's place in text, and one more than in raw
		zeros := make([]byte, len(value))
		_, _ = unix.ProcessVMWritev(os.Getpid(), iovec(zeros), []unix.RemoteIovec{{Base: start + uintptr(at-1), Len: len(zeros)}}, 0)
	}
}

func iovec(b []byte) []unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return []unix.Iovec{v}
}

// block is where the environment strings are: env_start and env_end of proc(5), /proc/PID/stat.
func block() (start, end uintptr, ok bool) {
	raw, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, false
	}
	// The second field, a name in parentheses, may hold spaces.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	const first, envStart = 3, 50 // numbers of fields
	if len(fields) <= envStart+1-first {
		return 0, 0, false
	}
	from, err1 := strconv.ParseUint(string(fields[envStart-first]), 10, 64)
	to, err2 := strconv.ParseUint(string(fields[envStart+1-first]), 10, 64)
	// The kernel's limit for arguments and environment is 6 MiB at most (execve(2)).
	if err1 != nil || err2 != nil || from == 0 || to <= from || to-from > 8<<20 {
		return 0, 0, false
	}
	return uintptr(from), uintptr(to), true
}
