package relay

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const patience = 10 * time.Second

// An end is a socket that keeps what arrives.
type end struct {
	net.PacketConn
	got chan arrived
}

type arrived struct {
	number uint32
	from   net.Addr
}

func newEnd(t *testing.T) *end {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	e := &end{conn, make(chan arrived, 1<<12)}
	go func() {
		buf := make([]byte, maxPacket)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n >= 4 {
				e.got <- arrived{binary.BigEndian.Uint32(buf), from}
			}
		}
	}()
	return e
}

func (e *end) send(t *testing.T, to net.Addr, number uint32) {
	t.Helper()
	if _, err := e.WriteTo(binary.BigEndian.AppendUint32(nil, number), to); err != nil {
		t.Fatal(err)
	}
}

func (e *end) next(t *testing.T) arrived {
	t.Helper()
	select {
	case a := <-e.got:
		return a
	case <-time.After(patience):
		t.Fatal("nothing has arrived")
		panic("unreachable")
	}
}

func resolve(t *testing.T, addr string) net.Addr {
	t.Helper()
	a, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pair has a dial b through a relay.
func pair(t *testing.T) (n *Network, a, b *end, relay net.Addr) {
	t.Helper()
	n = New(1)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	a, b = newEnd(t), newEnd(t)
	addr, err := n.Dial("a", "b", b.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return n, a, b, resolve(t, addr)
}

func TestRelayPassesBothWays(t *testing.T) {
	_, a, b, relay := pair(t)
	for i := range uint32(100) {
		a.send(t, relay, i)
		got := b.next(t)
		b.send(t, got.from, i+1000)
		if back := a.next(t); got.number != i || back.number != i+1000 || back.from.String() != relay.String() {
			t.Fatalf("%d arrived as %v, the answer as %v", i, got, back)
		}
	}
}

func TestCutIsOfOneDirection(t *testing.T) {
	n, a, b, relay := pair(t)
	a.send(t, relay, 1)
	back := b.next(t).from
	n.Set("a", "b", Conditions{Cut: true})
	a.send(t, relay, 2)
	b.send(t, back, 3)
	if got := a.next(t).number; got != 3 {
		t.Errorf("%d came back", got)
	}
	await(t, func() bool { return n.Counts("a", "b").Dropped == 1 })
	n.Heal()
	n.Set("b", "a", Conditions{Cut: true})
	b.send(t, back, 4)
	a.send(t, relay, 5)
	if got := b.next(t).number; got != 5 {
		t.Errorf("%d arrived", got)
	}
	await(t, func() bool { return n.Counts("b", "a").Dropped == 1 })
	n.SetBoth("a", "b", Conditions{})
	b.send(t, back, 6)
	if got := a.next(t).number; got != 6 {
		t.Errorf("%d came back after the cut", got)
	}
}

func TestTargetMayComeLaterAndClientsAreBounded(t *testing.T) {
	n, _, b, relay := pair(t)
	addr := b.LocalAddr().String()
	b.Close()
	first := newEnd(t)
	first.send(t, relay, 1)
	await(t, func() bool { return n.Counts("a", "b").Delivered == 1 })
	conn, err := net.ListenPacket("udp4", addr)
	if err != nil {
		t.Skipf("the port is taken: %v", err)
	}
	defer conn.Close()
	buf := make([]byte, 100)
	for i := range uint32(3 * maxClients) {
		e := newEnd(t)
		e.send(t, relay, i)
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadFrom(buf); err != nil {
			t.Fatal(err)
		}
	}
	r := n.relays[0]
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.clients) > maxClients {
		t.Errorf("%d clients are kept", len(r.clients))
	}
}

func TestOnlyLoopback(t *testing.T) {
	n := New(1)
	defer n.Close()
	if _, err := n.Dial("a", "b", "192.0.2.1:7400"); err == nil {
		t.Error("no error")
	}
}

func await(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(time.Millisecond)
	}
}

// passed sends numbered packets of a size, every so often, in virtual time, and
// tells which came when.
func passed(t *testing.T, seed uint64, c Conditions, count, size int, every time.Duration) (got []string, numbers []uint32, counts Counts) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPath(seed, 7)
		p.set(c)
		done := make(chan struct{})
		go p.run(done)
		start := time.Now()
		for i := range count {
			payload := binary.BigEndian.AppendUint32(make([]byte, 0, size), uint32(i))
			p.send(time.Now(), payload[:max(size, 4)], func(b []byte) {
				n := binary.BigEndian.Uint32(b)
				got = append(got, fmt.Sprint(n, time.Since(start)))
				numbers = append(numbers, n)
			})
			synctest.Wait()
			time.Sleep(every)
		}
		time.Sleep(time.Minute)
		close(done)
		<-p.finished
		_, counts = p.get()
	})
	return got, numbers, counts
}

func TestConditions(t *testing.T) {
	const count = 1000
	t.Run("none", func(t *testing.T) {
		_, numbers, _ := passed(t, 1, Conditions{}, count, 100, time.Millisecond)
		if len(numbers) != count || !slices.IsSorted(numbers) {
			t.Errorf("%d came", len(numbers))
		}
	})
	t.Run("delay", func(t *testing.T) {
		got, _, _ := passed(t, 1, Conditions{Delay: 40 * time.Millisecond}, 2, 100, time.Millisecond)
		if want := []string{"0 40ms", "1 41ms"}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("jitter keeps the order", func(t *testing.T) {
		got, numbers, _ := passed(t, 1, Conditions{Delay: 5 * time.Millisecond, Jitter: 50 * time.Millisecond}, count, 100, time.Millisecond)
		if len(numbers) != count || !slices.IsSorted(numbers) || slices.Contains(got, "0 5ms") {
			t.Errorf("%d came, %v first", len(numbers), got[:3])
		}
	})
	t.Run("drop", func(t *testing.T) {
		_, numbers, counts := passed(t, 1, Conditions{Drop: 0.2}, count, 100, time.Millisecond)
		if n := len(numbers); n < count*7/10 || n > count*9/10 || counts.Dropped != count-n {
			t.Errorf("%d came, %+v", n, counts)
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		_, numbers, counts := passed(t, 1, Conditions{Duplicate: 0.2}, count, 100, time.Millisecond)
		if n := len(numbers); n < count*11/10 || n > count*13/10 || counts.Duplicated != n-count {
			t.Errorf("%d came, %+v", n, counts)
		}
	})
	t.Run("reorder", func(t *testing.T) {
		_, numbers, counts := passed(t, 1, Conditions{Reorder: 0.2}, count, 100, time.Millisecond)
		if slices.IsSorted(numbers) || len(numbers) != count || counts.Reordered == 0 {
			t.Errorf("%d came, %+v", len(numbers), counts)
		}
	})
	t.Run("rate", func(t *testing.T) {
		got, numbers, counts := passed(t, 1, Conditions{Rate: 10_000}, count, 1000, 10*time.Millisecond)
		// 10 packets per second of 100, and those that wait at the end.
		if n := len(numbers); n < 100 || n > 110 || counts.Dropped != count-n || got[0] != "0 100ms" {
			t.Errorf("%d came, %+v, %v first", n, counts, got[0])
		}
	})
	t.Run("bounded", func(t *testing.T) {
		_, numbers, _ := passed(t, 1, Conditions{Delay: time.Second}, count, 60_000, 0)
		if n := len(numbers) * 60_000; n > maxInFlight || n < maxInFlight-60_000 {
			t.Errorf("%d bytes were in flight", n)
		}
	})
	t.Run("cut drops what is in flight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPath(1, 1)
			p.set(Conditions{Delay: time.Second})
			done := make(chan struct{})
			go p.run(done)
			p.send(time.Now(), []byte("late"), func([]byte) { t.Error("it came") })
			time.Sleep(time.Second / 2)
			p.set(Conditions{Cut: true})
			time.Sleep(time.Minute)
			close(done)
			<-p.finished
		})
	})
}

func TestSameSeedSameFate(t *testing.T) {
	c := Conditions{Delay: time.Millisecond, Jitter: 9 * time.Millisecond, Drop: 0.1, Duplicate: 0.1, Reorder: 0.1, Rate: 100_000}
	a, _, _ := passed(t, 5, c, 500, 100, time.Millisecond)
	b, _, _ := passed(t, 5, c, 500, 100, time.Millisecond)
	other, _, _ := passed(t, 6, c, 500, 100, time.Millisecond)
	if !slices.Equal(a, b) {
		t.Error("the same seed gave two histories")
	}
	if slices.Equal(a, other) {
		t.Error("two seeds gave one history")
	}
}
