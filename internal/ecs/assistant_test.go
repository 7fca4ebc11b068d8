package ecs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

func TestSendFile(t *testing.T) {
	w := newWorld(t, ecssim.Options{Runner: ecssim.DirectoryRunner{Dir: t.TempDir()}, Latencies: ecssim.Latencies{Agent: 15 * time.Millisecond, Consistency: 5 * time.Millisecond}})
	c, ctx := w.client, w.ctx()
	id, err := c.RunInstance(ctx, w.spec())
	w.check(err)
	dir := filepath.Join(t.TempDir(), "it's 目录")
	w.check(os.Mkdir(dir, 0o700))
	f := ecs.SentFile{Directory: dir, Name: "密 $f", Content: []byte{0, 0xff, '\n'}, Mode: "0640"}
	for range 2 { // the first time again until the agent is there, the second over what is there
		w.check(c.SendFile(ctx, id, f))
		data, err := os.ReadFile(filepath.Join(dir, f.Name))
		info, _ := os.Stat(filepath.Join(dir, f.Name))
		if err != nil || string(data) != string(f.Content) || info.Mode().Perm() != 0o640 {
			t.Errorf("%q, %v, %v", data, info, err)
		}
		f.Content = append(f.Content, 'x')
	}
	nowhere := f
	nowhere.Directory = filepath.Join(dir, "none")
	err = c.SendFile(ctx, id, nowhere)
	if !ecs.HasCode(err, "FilePathInvalid") || !strings.Contains(err.Error(), "call SendFile: FilePathInvalid: the file 密 $f did not get to "+id) {
		t.Errorf("no directory: %v", err)
	}
	f.Content = make([]byte, ecs.MaxSentFile+1)
	if err := c.SendFile(ctx, id, f); err == nil || !strings.Contains(err.Error(), "it has 24577 bytes, more than the 24576 that Cloud Assistant takes") {
		t.Errorf("too long: %v", err)
	}
	f.Content = f.Content[1:]
	w.check(c.SendFile(ctx, id, f))
	if err := c.SendFile(ctx, "i-none", f); !ecs.IsNotFound(err) {
		t.Errorf("nowhere: %v", err)
	}
	w.do("StopInstance", "", map[string]string{"InstanceId": id})
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := c.SendFile(short, id, f); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("to a machine that does not run: %v", err)
	}
}
