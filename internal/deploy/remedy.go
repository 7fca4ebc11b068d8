package deploy

import (
	"errors"
	"strings"
	"syscall"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// The system's words for a full file system. Of a program on another machine
// there are no more than these.
const (
	noSpace = "no space left on device"
	noQuota = "disk quota exceeded"
)

// SystemRemedy says what to do about an error that comes from a machine and not
// from what was asked of it: a disk that is full, a connection that broke. It
// is empty for any other. Again is the user's way to try once more, such as
// "apply again".
//
// That what was there before is unchanged holds for everything that is written
// here: see package atomicfile.
func SystemRemedy(err error, again string) string {
	if err == nil {
		return ""
	}
	text := strings.ToLower(err.Error())
	switch {
	case errors.Is(err, syscall.ENOSPC), strings.Contains(text, noSpace):
		return "That file system is full. What was there before is unchanged. Free some space on it (df -h, df -i) and " + again + "."
	case errors.Is(err, syscall.EDQUOT), strings.Contains(text, noQuota):
		return "The user's quota on that file system is used up. What was there before is unchanged. Free some of it (quota -s) and " + again + "."
	case errors.Is(err, syscall.EFBIG):
		return "This process may not write files that large (ulimit -f, LimitFSIZE), or that file system cannot hold them. " +
			"What was there before is unchanged. Raise the limit and " + again + "."
	case errors.Is(err, syscall.EROFS):
		return "That file system is mounted read-only; Linux also does that to one whose device fails (dmesg says so). Make it writable and " + again + "."
	case errors.Is(err, remote.ErrConnectionLost):
		return "What arrived on the machine before is kept, and nothing is half there. When the machine answers, " + again + ": it goes on from there."
	default:
		return ""
	}
}
