package admission

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// conn notes that it was closed.
type conn struct {
	name   string
	closed *[]string
}

func (c conn) Close() error {
	*c.closed = append(*c.closed, c.name)
	return nil
}

func address(s string) netip.Prefix { return netip.MustParsePrefix(s + "/32") }

func TestLimits(t *testing.T) {
	type step struct{ address, name string }
	for _, tt := range []struct {
		name              string
		total, perAddress int
		steps             []step
		closed            []string
		open              int
	}{
		{"below both", 3, 2, []step{{"192.0.2.1", "a"}, {"192.0.2.1", "b"}, {"192.0.2.2", "c"}}, nil, 3},
		{"per address, the oldest goes", 9, 2, []step{{"192.0.2.1", "a"}, {"192.0.2.1", "b"}, {"192.0.2.1", "c"}, {"192.0.2.1", "d"}}, []string{"a", "b"}, 2},
		{
			"in all, the oldest of the busiest goes", 4, 4,
			[]step{{"192.0.2.9", "victim"}, {"192.0.2.1", "a"}, {"192.0.2.1", "b"}, {"192.0.2.1", "c"}, {"192.0.2.7", "new"}},
			[]string{"a"}, 4,
		},
		{"one at a time", 1, 1, []step{{"192.0.2.1", "a"}, {"192.0.2.2", "b"}, {"192.0.2.3", "c"}}, []string{"a", "b"}, 1},
		{"limits below one mean one", 0, -5, []step{{"192.0.2.1", "a"}, {"192.0.2.1", "b"}}, []string{"a"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var closed []string
			g := New(tt.total, tt.perAddress)
			passes := map[string]*Pass{}
			for _, s := range tt.steps {
				passes[s.name] = g.Admit(address(s.address), conn{s.name, &closed})
			}
			if diff := cmp.Diff(tt.closed, closed); diff != "" {
				t.Errorf("closed (-want +got):\n%s", diff)
			}
			open, evicted := g.Count()
			if open != tt.open || evicted != uint64(len(tt.closed)) {
				t.Errorf("open %d, evicted %d; want %d, %d", open, evicted, tt.open, len(tt.closed))
			}
			for name, p := range passes {
				want := false
				for _, c := range tt.closed {
					want = want || c == name
				}
				if got := p.Release(); got != want {
					t.Errorf("release of %s reports eviction %v, want %v", name, got, want)
				}
				p.Release() // a second time counts nothing twice
			}
			if open, _ := g.Count(); open != 0 || len(g.addresses) != 0 {
				t.Errorf("after all releases %d are open and %d addresses are known", open, len(g.addresses))
			}
		})
	}
}

func TestLowerLimitsMakeRoomAtTheNextAdmission(t *testing.T) {
	var closed []string
	g := New(10, 10)
	for _, name := range []string{"a", "b", "c", "d"} {
		g.Admit(address("192.0.2.1"), conn{name, &closed})
	}
	g.SetLimits(2, 2)
	if len(closed) != 0 {
		t.Fatalf("changing limits closed %v", closed)
	}
	g.Admit(address("192.0.2.1"), conn{"e", &closed})
	if diff := cmp.Diff([]string{"a", "b", "c"}, closed); diff != "" {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
}

func TestAddressOf(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 1}, "192.0.2.1/32"},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 2}, "192.0.2.1/32"},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:1:2:3:4:5:6"), Port: 3}, "2001:db8:1:2::/64"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::/64"},
		{&net.TCPAddr{}, "invalid Prefix"},
		{&net.UnixAddr{Name: "/x"}, "invalid Prefix"},
	} {
		if got := AddressOf(tt.addr).String(); got != tt.want {
			t.Errorf("AddressOf(%v) = %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	g := New(8, 4)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 200 {
				p := g.Admit(address([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[i%3]), nopCloser{})
				if open, _ := g.Count(); open > 8 {
					t.Errorf("%d connections are open, more than 8", open)
				}
				p.Release()
			}
		})
	}
	wg.Wait()
	if open, _ := g.Count(); open != 0 {
		t.Errorf("%d connections are left", open)
	}
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
