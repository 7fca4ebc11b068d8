//go:build unix

package deploy

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// TestContainerTakenAway: what becomes of a key server when its container or its image
// is taken away, and that the next apply brings it back.
func TestContainerTakenAway(t *testing.T) {
	t.Parallel()
	k := testContainer(t)
	k.Program = ownProgram(t)
	run := applyContainer(t, k)
	state := func(what string) string { return docker(t, "inspect", "-f", "{{."+what+"}}", k.Name) }

	// Somebody kills it by Docker's means, which Docker takes for a wish.
	docker(t, "kill", k.Name)
	o, err := k.Observe(t.Context(), run.ConfigSHA256)
	if err != nil {
		t.Fatal(full(err))
	}
	testfault.Expect(t, "Container killed", testfault.Provider, o.Status+"\n"+o.Log)
	applyContainer(t, k)

	// It dies by itself: Docker starts it again.
	pid, err := strconv.Atoi(state("State.Pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	status := ""
	for deadline := time.Now().Add(time.Minute); status != KeyServerRunning; time.Sleep(200 * time.Millisecond) {
		if status = observeContainer(t, k, run); time.Now().After(deadline) {
			t.Fatalf("after its death it is %q", status)
		}
	}
	if now := state("State.Pid"); now == strconv.Itoa(pid) || state("RestartCount") == "0" {
		t.Error("it did not die")
	}
	testfault.Expect(t, "Container dies", testfault.Provider, status)
	if err := probeOf(t, k); err != nil {
		t.Error(full(err))
	}

	// Container and image are gone.
	used := state("Image")
	docker(t, "rm", "-f", k.Name)
	docker(t, "image", "rm", used)
	testfault.Expect(t, "Image and container gone", testfault.Provider, observeContainer(t, k, run))
	applyContainer(t, k)
	if now := state("Image"); now != used {
		t.Errorf("the image is %s, was %s", now, used)
	}
	if err := k.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
}

// TestContainerDiskFull: an update that finds no room leaves the server that
// runs as it is, and is done when there is room.
func TestContainerDiskFull(t *testing.T) {
	t.Parallel()
	disk := testhost.NewDisk(t, 1<<20)
	k := testContainer(t)
	k.Directory = disk.Path("host", "server")
	run := applyContainer(t, k)
	before := docker(t, "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", k.Name)
	newer := k
	newer.Config.Rules = append([]KeyServerRule(nil), k.Config.Rules...)
	newer.Config.Rules[0].Name = "another"
	disk.Fill()
	_, err := newer.Apply(t.Context())
	testfault.Expect(t, "Disk of the container's machine full", testfault.Provider, full(err)+"\n"+SystemRemedy(err, "apply again"))
	if status := observeContainer(t, k, run); status != KeyServerRunning {
		t.Errorf("the server that was there: %q", status)
	}
	if after := docker(t, "inspect", "-f", "{{.Id}} {{.State.StartedAt}}", k.Name); after != before {
		t.Errorf("it was started again: %s, was %s", after, before)
	}
	disk.Free()
	applyContainer(t, newer)
	for name := range snapshot(t, disk.Path("host")) {
		if strings.Contains(name, ".cc-tmp-") {
			t.Errorf("left on the machine: %s", name)
		}
	}
	if err := newer.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
}
