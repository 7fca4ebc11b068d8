package keyserver

import (
	"container/list"
	"io"
	"net"
	"net/netip"
	"sync"
)

// gate bounds how many connections are open. At a limit it closes the oldest of the address that has the most, which is
// the likeliest to have stalled: newcomers get in, and whoever floods the server pushes out itself.
type gate struct {
	total, perAddress int

	mu        sync.Mutex
	open      int
	evicted   uint64
	addresses map[netip.Prefix]*list.List // of *pass, oldest first
}

// pass is the right of one connection to be open.
type pass struct {
	gate    *gate
	address netip.Prefix
	conn    io.Closer
	element *list.Element // nil once given back or evicted; guarded by gate.mu
	evicted bool          // guarded by gate.mu
}

func newGate(total, perAddress int) *gate {
	return &gate{total: total, perAddress: perAddress, addresses: map[netip.Prefix]*list.List{}}
}

// addressOf is what counts as one address: an IPv4 address, or the /64 that a single IPv6 host commonly has.
func addressOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// admit lets a connection in, if need be in place of another one, which it closes.
func (g *gate) admit(address netip.Prefix, conn io.Closer) *pass {
	p := &pass{gate: g, address: address, conn: conn}
	g.mu.Lock()
	var out *pass
	if l := g.addresses[address]; l != nil && l.Len() >= g.perAddress {
		out = g.evict(address)
	} else if g.open >= g.total {
		out = g.evict(g.busiest())
	}
	l := g.addresses[address] // evict may have dropped it
	if l == nil {
		l = list.New()
		g.addresses[address] = l
	}
	p.element = l.PushBack(p)
	g.open++
	g.mu.Unlock()
	if out != nil {
		_ = out.conn.Close()
	}
	return p
}

// busiest is the address with the most connections. It is asked for at the limit only.
func (g *gate) busiest() netip.Prefix {
	var most netip.Prefix
	n := -1
	for address, l := range g.addresses {
		if l.Len() > n {
			most, n = address, l.Len()
		}
	}
	return most
}

// evict takes the oldest pass of an address back. The caller holds the lock.
func (g *gate) evict(address netip.Prefix) *pass {
	l := g.addresses[address]
	if l == nil || l.Len() == 0 {
		return nil
	}
	p, ok := l.Front().Value.(*pass)
	if !ok {
		return nil
	}
	p.evicted = true
	g.evicted++
	g.remove(p)
	return p
}

// remove forgets a pass. The caller holds the lock.
func (g *gate) remove(p *pass) {
	if p.element == nil {
		return
	}
	l := g.addresses[p.address]
	l.Remove(p.element)
	if l.Len() == 0 {
		delete(g.addresses, p.address)
	}
	p.element = nil
	g.open--
}

// release gives the pass back and reports whether it had been taken away before.
func (p *pass) release() (evicted bool) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.remove(p)
	return p.evicted
}

// count is how many connections are open, and how many have been closed to make room since the start.
func (g *gate) count() (open int, evicted uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.evicted
}

// limit changes the bounds; it closes no connection that is open.
func (g *gate) limit(total, perAddress int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total, g.perAddress = total, perAddress
}
