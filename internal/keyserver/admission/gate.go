// Package admission bounds how many connections a server has open, in all and from one address.
//
// At a limit it closes the oldest connection of the address that has the most. That one is the likeliest to have
// stalled; newcomers get in, and whoever floods the server pushes out its own connections first.
package admission

import (
	"container/list"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Gate counts connections. It may be used by several goroutines at once.
type Gate struct {
	mu                sync.Mutex
	total, perAddress int
	open              int
	evicted           uint64
	addresses         map[netip.Prefix]*list.List // of *Pass, oldest first; no empty lists
}

// Pass is the right of one connection to be open.
type Pass struct {
	gate    *Gate
	address netip.Prefix
	conn    io.Closer

	// Guarded by gate.mu.
	element *list.Element // nil once given back or taken away
	evicted bool
}

// New makes a gate for so many connections, all at least 1.
func New(total, perAddress int) *Gate {
	g := &Gate{addresses: map[netip.Prefix]*list.List{}}
	g.SetLimits(total, perAddress)
	return g
}

// SetLimits changes the bounds. Connections that are open stay open.
func (g *Gate) SetLimits(total, perAddress int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total, g.perAddress = max(total, 1), max(perAddress, 1)
}

// AddressOf is what counts as one address: an IPv4 address, or the /64 that a single IPv6 host commonly has. Whatever
// has no IP address counts as one.
func AddressOf(a net.Addr) netip.Prefix {
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

// Admit lets a connection in, if need be in place of another one, which it closes. The pass is to be released.
func (g *Gate) Admit(address netip.Prefix, conn io.Closer) *Pass {
	p := &Pass{gate: g, address: address, conn: conn}
	for _, out := range g.enter(p) {
		_ = out.conn.Close()
	}
	return p
}

// enter adds a pass and returns those that had to make room.
func (g *Gate) enter(p *Pass) (out []*Pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// More than one when the limits were lowered meanwhile.
	for l := g.addresses[p.address]; l != nil && l.Len() >= g.perAddress; l = g.addresses[p.address] {
		out = append(out, g.evict(p.address))
	}
	for g.open >= g.total {
		out = append(out, g.evict(g.busiest()))
	}
	l := g.addresses[p.address]
	if l == nil {
		l = list.New()
		g.addresses[p.address] = l
	}
	p.element = l.PushBack(p)
	g.open++
	return out
}

// busiest is the address with the most connections. It is asked for at the limit only. The caller holds the lock.
func (g *Gate) busiest() netip.Prefix {
	var most netip.Prefix
	n := 0
	for address, l := range g.addresses {
		if l.Len() > n {
			most, n = address, l.Len()
		}
	}
	return most
}

// evict takes the oldest pass of an address that has one. The caller holds the lock.
func (g *Gate) evict(address netip.Prefix) *Pass {
	p := g.addresses[address].Front().Value.(*Pass) //nolint:forcetypeassert // Admit puts nothing else in.
	p.evicted = true
	g.evicted++
	g.remove(p)
	return p
}

// remove forgets a pass. The caller holds the lock.
func (g *Gate) remove(p *Pass) {
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

// Release gives the pass back and reports whether it had been taken away before.
func (p *Pass) Release() (evicted bool) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.remove(p)
	return p.evicted
}

// Count is how many connections are open, and how many have been closed to make room since the start.
func (g *Gate) Count() (open int, evicted uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.evicted
}
