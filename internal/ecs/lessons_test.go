package ecs

import (
	"fmt"
	"strings"
	"testing"
)

// What other providers got wrong, and no other test here would notice.

// TestEffectiveAddress: an EIP stands before an address that was assigned.
func TestEffectiveAddress(t *testing.T) {
	for public, want := range map[string]string{
		`"PublicIpAddress":{"IpAddress":["198.51.100.1"]},"EipAddress":{"IpAddress":"203.0.113.1"}`: "203.0.113.1",
		`"PublicIpAddress":{"IpAddress":["198.51.100.1"]},"EipAddress":{"IpAddress":""}`:            "198.51.100.1",
		`"PublicIpAddress":{"IpAddress":[]}`:                                                        "",
		`"PublicIpAddress":null,"EipAddress":null`:                                                  "",
	} {
		c, _ := newFake(t, func(int, received) (int, string) {
			return 200, `{"Instances":{"Instance":[{"InstanceId":"i-1",` + public + `}]}}`
		})
		i, err := c.FindInstance(seconds(t, 10), "i-1")
		if err != nil || i.Address() != want {
			t.Errorf("%s: %+v %v, want %q", public, i, err, want)
		}
	}
}

// TestStopSendsWhatIsMeant, and never the "Not-applicable" that a running
// machine is described with.
func TestStopSendsWhatIsMeant(t *testing.T) {
	c, f := newFake(t, func(int, received) (int, string) { return 200, `{}` })
	if err := c.StopInstance(seconds(t, 10), "i-1"); err != nil {
		t.Fatal(err)
	}
	if got := f.calls[0].merged; got["StoppedMode"] != "KeepCharging" || got["ForceStop"] != "false" {
		t.Errorf("%v", got)
	}
}

// TestImagesToTheLastPage, though pages may be shorter than asked for.
func TestImagesToTheLastPage(t *testing.T) {
	sizes := map[string]int{"1": 60, "2": 40, "3": 50}
	c, f := newFake(t, func(_ int, r received) (int, string) {
		var images []string
		for n := range sizes[r.merged["PageNumber"]] {
			images = append(images, fmt.Sprintf(`{"ImageId":"m-%s-%d"}`, r.merged["PageNumber"], n))
		}
		return 200, `{"TotalCount":150,"Images":{"Image":[` + strings.Join(images, ",") + `]}}`
	})
	images, err := c.Images(seconds(t, 10), ImageFilter{})
	if err != nil || len(images) != 150 || len(f.calls) != 3 {
		t.Errorf("%d images in %d calls: %v", len(images), len(f.calls), err)
	}
}

// TestRefusalsOfGroupsAreTold: the two codes that mean "done already" are no
// errors, and everything else is one.
func TestRefusalsOfGroupsAreTold(t *testing.T) {
	for code, wrong := range map[string]bool{
		"InvalidInstanceId.AlreadyExists": false, "InstanceNotInSecurityGroup": false,
		"InstanceLastSecurityGroup": true, "SecurityGroupInstanceLimitExceed": true, "InvalidSecurityGroupId.NotFound": true, "Forbidden.RAM": true, "Brand.New": true,
	} {
		c, _ := newFake(t, func(int, received) (int, string) { return 403, `{"Code":"` + code + `","Message":"m"}` })
		join, leave := c.JoinSecurityGroup(seconds(t, 10), "i-1", "sg-1"), c.LeaveSecurityGroup(seconds(t, 10), "i-1", "sg-1")
		if wrong && (join == nil || leave == nil) || !wrong && join != nil && leave != nil {
			t.Errorf("%s: joining %v, leaving %v", code, join, leave)
		}
		if wrong && !HasCode(join, code) {
			t.Errorf("%s is told as %v", code, join)
		}
	}
}
