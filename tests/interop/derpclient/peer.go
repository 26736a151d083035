package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
)

const inboxSize = 1024

// peer is one connection to the server with a reader that keeps its socket drained.
type peer struct {
	name   string
	client *derphttp.Client
	inbox  chan received
}

type received struct {
	message derp.ReceivedMessage
	err     error
}

// connect logs in with the key and waits for ServerInfo, the only sign that the server took us.
func connect(ctx context.Context, t *target, name string, private key.NodePrivate) (*peer, error) {
	client, err := t.client(private)
	if err != nil {
		return nil, err
	}
	client.SetCanAckPings(true)
	if err := client.Connect(ctx); err != nil {
		client.Close()
		return nil, err
	}
	p := &peer{name: name, client: client, inbox: make(chan received, inboxSize)}
	go p.read()
	if _, err := p.await(ctx, "ServerInfo", isServerInfo); err != nil {
		client.Close()
		return nil, err
	}
	return p, nil
}

// read moves messages to the inbox until the connection ends.  It never re-dials: the derphttp
// client would do so by itself on the next Recv, and a lost connection would go unseen.
func (p *peer) read() {
	defer close(p.inbox)
	for {
		message, err := p.client.Recv()
		switch m := message.(type) {
		case derp.PingMessage:
			err = p.client.SendPong(m)
		case derp.ReceivedPacket:
			m.Data = bytes.Clone(m.Data) // Recv reuses its buffer
			message = m
		}
		select {
		case p.inbox <- received{message, err}:
		default:
			p.client.Close()
			return // more unread messages than any check can cause
		}
		if err != nil {
			p.client.Close()
			return
		}
	}
}

// await reads messages until match accepts one; match returns an error for one that must not come.
func (p *peer) await(
	ctx context.Context, what string, match func(derp.ReceivedMessage) (bool, error),
) (derp.ReceivedMessage, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s waited in vain for %s", p.name, what)
		case r, open := <-p.inbox:
			if !open {
				return nil, fmt.Errorf("%s lost its connection while waiting for %s", p.name, what)
			}
			if r.err != nil {
				return nil, fmt.Errorf("%s, waiting for %s: %w", p.name, what, r.err)
			}
			matched, err := match(r.message)
			if err != nil {
				return nil, fmt.Errorf("%s, waiting for %s: %w", p.name, what, err)
			}
			if matched {
				return r.message, nil
			}
		}
	}
}

// awaitPacket waits for exactly this packet; any other packet is an error.
func (p *peer) awaitPacket(ctx context.Context, from key.NodePublic, data []byte) error {
	_, err := p.await(ctx, fmt.Sprintf("a packet of %d bytes", len(data)),
		func(message derp.ReceivedMessage) (bool, error) {
			packet, isPacket := message.(derp.ReceivedPacket)
			if !isPacket {
				return false, nil
			}
			if packet.Source != from {
				return false, fmt.Errorf("a packet came from %v instead of %v", packet.Source, from)
			}
			if !bytes.Equal(packet.Data, data) {
				return false, fmt.Errorf("a packet of %d bytes came, and it is not the one sent", len(packet.Data))
			}
			return true, nil
		})
	return err
}

// awaitGone waits for PeerGone about one key; the reason must be the given one.
func (p *peer) awaitGone(ctx context.Context, about key.NodePublic, reason derp.PeerGoneReasonType) error {
	_, err := p.await(ctx, fmt.Sprintf("PeerGone with reason %d", reason),
		func(message derp.ReceivedMessage) (bool, error) {
			gone, isGone := message.(derp.PeerGoneMessage)
			if !isGone || gone.Peer != about {
				return false, nil
			}
			if gone.Reason != reason {
				return false, fmt.Errorf("the reason was %d", gone.Reason)
			}
			return true, nil
		})
	return err
}

// awaitEnd waits until the server has closed the connection.
func (p *peer) awaitEnd(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still connected", p.name)
		case r, open := <-p.inbox:
			if !open || r.err != nil {
				return nil
			}
			if present, isPresent := r.message.(derp.PeerPresentMessage); isPresent {
				return fmt.Errorf("%s was told that %v is connected", p.name, present.Key)
			}
		}
	}
}

// expectSilence fails if a packet or PeerGone has come by the time a ping of ours is answered.
func (p *peer) expectSilence(ctx context.Context) error {
	if err := p.client.Ping(ctx); err != nil {
		return fmt.Errorf("%s: no pong: %w", p.name, err)
	}
	for {
		select {
		case r, open := <-p.inbox:
			if !open || r.err != nil {
				return fmt.Errorf("%s lost its connection", p.name)
			}
			switch m := r.message.(type) {
			case derp.ReceivedPacket:
				return fmt.Errorf("%s got a packet of %d bytes that was not meant for it", p.name, len(m.Data))
			case derp.PeerGoneMessage:
				return fmt.Errorf("%s was told that %v is gone", p.name, m.Peer)
			}
		default:
			return nil
		}
	}
}

func (p *peer) public() key.NodePublic { return p.client.SelfPublicKey() }

func (p *peer) send(to *peer, data []byte) error { return p.client.Send(to.public(), data) }

func (p *peer) close() error {
	err := p.client.Close()
	if errors.Is(err, derphttp.ErrClientClosed) {
		return nil
	}
	return err
}

func isServerInfo(message derp.ReceivedMessage) (bool, error) {
	_, matched := message.(derp.ServerInfoMessage)
	return matched, nil
}
