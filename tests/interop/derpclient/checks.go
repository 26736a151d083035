package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"tailscale.com/derp"
	"tailscale.com/disco"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const (
	burstPackets   = 24 // below the 32 slots that a DERP server keeps for one destination
	burstSizeBytes = 4096
)

var packetSizes = []int{1, 1200, 32768, derp.MaxPacketSize}

var errNotConnected = errors.New("not run: the two clients are not connected")

// session is one run of all checks: two clients that stay connected, and a third key.
type session struct {
	target   *target
	stunAddr string
	checkMap bool
	alice    *peer
	bob      *peer
}

type check struct {
	name string
	run  func(context.Context) (detail string, err error)
}

func newSession(t *target, stunAddr string, checkMap bool) *session {
	return &session{target: t, stunAddr: stunAddr, checkMap: checkMap}
}

func (s *session) checks() []check {
	checks := []check{
		{"http_probe", s.httpProbe},
		{"connect", s.connect},
		{"packets", s.connected(s.packets)},
		{"order", s.connected(s.order)},
		{"ping", s.connected(s.ping)},
		{"note_preferred", s.connected(s.notePreferred)},
		{"peer_gone_not_here", s.connected(s.peerGoneNotHere)},
		{"fast_start", s.connected(s.fastStart)},
		{"peer_gone_disconnected", s.connected(s.peerGoneDisconnected)},
		{"duplicate_key", s.connected(s.duplicateKey)},
		{"mesh_refused", s.connected(s.meshRefused)},
		{"server_info_first", s.serverInfoFirst},
	}
	if s.checkMap {
		checks = append(checks, check{"derp_map", s.derpMap})
	}
	if s.stunAddr != "" {
		checks = append(checks, check{"stun", s.stun})
	}
	return checks
}

func (s *session) connected(run func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if s.alice == nil || s.bob == nil {
			return "", errNotConnected
		}
		return run(ctx)
	}
}

func (s *session) close() {
	for _, p := range []*peer{s.alice, s.bob} {
		if p != nil {
			p.close()
		}
	}
}

func (s *session) connect(ctx context.Context) (string, error) {
	alice, err := connect(ctx, s.target, "the first client", key.NewNode())
	if err != nil {
		return "", err
	}
	s.alice = alice
	if s.bob, err = connect(ctx, s.target, "the second client", key.NewNode()); err != nil {
		return "", err
	}
	if s.alice.client.ServerPublicKey() != s.bob.client.ServerPublicKey() {
		return "", errors.New("the server showed two different keys")
	}
	detail := "plain, server key " + s.alice.client.ServerPublicKey().ShortString()
	if state, ok := s.alice.client.TLSConnectionState(); ok {
		last := state.PeerCertificates[len(state.PeerCertificates)-1]
		detail = fmt.Sprintf("TLS %x, %d certificates, last one for %.16q",
			state.Version, len(state.PeerCertificates), last.Subject.CommonName)
	} else if s.target.isTLS() {
		return "", errors.New("the connection has no TLS state")
	}
	return detail, nil
}

func (s *session) packets(ctx context.Context) (string, error) {
	for _, size := range packetSizes {
		for _, way := range []struct{ from, to *peer }{{s.alice, s.bob}, {s.bob, s.alice}} {
			if err := exchange(ctx, way.from, way.to, size); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("%d, %d, %d and %d bytes both ways",
		packetSizes[0], packetSizes[1], packetSizes[2], packetSizes[3]), nil
}

// order sends a burst that every queue must hold; nothing may be lost, repeated or reordered.
func (s *session) order(ctx context.Context) (string, error) {
	burst := make([][]byte, burstPackets)
	for i := range burst {
		burst[i] = randomBytes(burstSizeBytes)
		if err := s.alice.send(s.bob, burst[i]); err != nil {
			return "", err
		}
	}
	for i, data := range burst {
		if err := s.bob.awaitPacket(ctx, s.alice.public(), data); err != nil {
			return "", fmt.Errorf("packet %d of the burst: %w", i, err)
		}
	}
	return fmt.Sprintf("%d packets of %d bytes", burstPackets, burstSizeBytes), nil
}

func (s *session) ping(ctx context.Context) (string, error) {
	for _, p := range []*peer{s.alice, s.bob} {
		if err := p.client.Ping(ctx); err != nil {
			return "", fmt.Errorf("%s: no pong: %w", p.name, err)
		}
	}
	return "answered to both clients", nil
}

// notePreferred marks the server as home, as every client does for one region.
func (s *session) notePreferred(ctx context.Context) (string, error) {
	s.alice.client.NotePreferred(true)
	s.alice.client.NotePreferred(false)
	if err := exchange(ctx, s.alice, s.bob, 1); err != nil {
		return "", err
	}
	return "accepted", nil
}

func (s *session) peerGoneNotHere(ctx context.Context) (string, error) {
	absent := key.NewNode().Public()
	if err := s.alice.client.Send(absent, discoShaped()); err != nil {
		return "", err
	}
	if err := s.alice.awaitGone(ctx, absent, derp.PeerGoneReasonNotHere); err != nil {
		return "", err
	}
	return "a disco-shaped packet to an unknown key", nil
}

// fastStart logs in with one flight: request and ClientInfo together, and no 101 in the answer.
func (s *session) fastStart(ctx context.Context) (string, error) {
	conn, err := s.target.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request, err := http.NewRequest(http.MethodGet, s.target.base.JoinPath("derp").String(), nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Upgrade", "DERP")
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set(derp.FastStartHeader, "1")
	stream := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	if err := request.Write(stream); err != nil {
		return "", err
	}
	serverKey := derp.ServerPublicKey(s.alice.client.ServerPublicKey())
	carol, err := derp.NewClient(key.NewNode(), conn, stream, logger.Discard, serverKey)
	if err != nil {
		return "", err
	}
	message, err := carol.Recv()
	if err != nil {
		return "", fmt.Errorf("waiting for ServerInfo: %w", err)
	}
	if _, isInfo := message.(derp.ServerInfoMessage); !isInfo {
		return "", fmt.Errorf("the first message is %T instead of ServerInfo", message)
	}
	data := randomBytes(1200)
	if err := carol.Send(s.alice.public(), data); err != nil {
		return "", err
	}
	if err := s.alice.awaitPacket(ctx, carol.PublicKey(), data); err != nil {
		return "", err
	}
	return "ServerInfo without a 101, then a packet", nil
}

// peerGoneDisconnected replaces bob: whoever heard from a key is told when it leaves.
func (s *session) peerGoneDisconnected(ctx context.Context) (string, error) {
	if err := exchange(ctx, s.bob, s.alice, 100); err != nil {
		return "", err
	}
	gone := s.bob
	s.bob = nil
	if err := gone.close(); err != nil {
		return "", err
	}
	if err := s.alice.awaitGone(ctx, gone.public(), derp.PeerGoneReasonDisconnected); err != nil {
		return "", err
	}
	bob, err := connect(ctx, s.target, "the second client", key.NewNode())
	if err != nil {
		return "", err
	}
	s.bob = bob
	return "the other client closed its connection", nil
}

// duplicateKey opens two connections with one key: the one that wrote last is the active one, the
// other stays open, and the key is gone only with the last of them.
func (s *session) duplicateKey(ctx context.Context) (string, error) {
	private := key.NewNode()
	older, err := connect(ctx, s.target, "the older connection", private)
	if err != nil {
		return "", err
	}
	defer older.close()
	if err := exchange(ctx, older, s.alice, 100); err != nil {
		return "", err
	}
	newer, err := connect(ctx, s.target, "the newer connection", private)
	if err != nil {
		return "", err
	}
	defer newer.close()
	if err := exchange(ctx, s.alice, newer, 1200); err != nil {
		return "", fmt.Errorf("the newer connection is not the active one: %w", err)
	}
	if err := older.expectSilence(ctx); err != nil { // its ping makes it the active one again
		return "", err
	}
	if err := exchange(ctx, s.alice, older, 1200); err != nil {
		return "", fmt.Errorf("a frame from the older connection did not make it active: %w", err)
	}
	if err := older.close(); err != nil {
		return "", err
	}
	return s.onlyNewerIsLeft(ctx, newer)
}

// onlyNewerIsLeft finishes duplicateKey after the older connection closed.  The ping makes the newer
// one active even if the server has not noticed the close yet.
func (s *session) onlyNewerIsLeft(ctx context.Context, newer *peer) (string, error) {
	if err := newer.client.Ping(ctx); err != nil {
		return "", fmt.Errorf("%s: no pong: %w", newer.name, err)
	}
	if err := exchange(ctx, s.alice, newer, 1200); err != nil {
		return "", fmt.Errorf("after the older connection closed: %w", err)
	}
	if err := s.alice.expectSilence(ctx); err != nil {
		return "", fmt.Errorf("while one connection of the key is left: %w", err)
	}
	if err := newer.close(); err != nil {
		return "", err
	}
	if err := s.alice.awaitGone(ctx, newer.public(), derp.PeerGoneReasonDisconnected); err != nil {
		return "", err
	}
	return "last writer is active, PeerGone after the last one closed", nil
}

// meshRefused asks, once logged in, for what only mesh peers may do; the server must cut us off.
func (s *session) meshRefused(ctx context.Context) (string, error) {
	carol, err := connect(ctx, s.target, "the third client", key.NewNode())
	if err != nil {
		return "", err
	}
	defer carol.close()
	if err := carol.client.ClosePeer(s.bob.public()); err != nil {
		return "", err
	}
	if err := carol.awaitEnd(ctx); err != nil {
		return "", err
	}
	if err := s.bob.client.Ping(ctx); err != nil {
		return "", fmt.Errorf("the client that was to be closed has lost its connection: %w", err)
	}
	return "cut off after ClosePeer, whose target stays connected", nil
}

// serverInfoFirst sends WatchConns, which is forbidden, right behind ClientInfo: the login was good
// and must be answered before the connection is closed for the frame after it.
func (s *session) serverInfoFirst(ctx context.Context) (string, error) {
	client, err := s.target.client(key.NewNode())
	if err != nil {
		return "", err
	}
	defer client.Close()
	client.WatchConnectionChanges = true
	if err := client.Connect(ctx); err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { client.Close() })()
	message, err := client.Recv()
	if err != nil {
		return "", fmt.Errorf("closed before ServerInfo: %w", err)
	}
	if _, isInfo := message.(derp.ServerInfoMessage); !isInfo {
		return "", fmt.Errorf("the first message is %T instead of ServerInfo", message)
	}
	if message, err = client.Recv(); ctx.Err() != nil {
		return "", errors.New("the connection stayed open")
	} else if err == nil {
		return "", fmt.Errorf("after ServerInfo came %T", message)
	}
	return "ServerInfo, then the end", nil
}

// exchange sends random bytes one way and waits until exactly they arrive.
func exchange(ctx context.Context, from, to *peer, size int) error {
	data := randomBytes(size)
	if err := from.send(to, data); err != nil {
		return fmt.Errorf("%s cannot send %d bytes: %w", from.name, size, err)
	}
	return to.awaitPacket(ctx, from.public(), data)
}

func randomBytes(size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	return data
}

// discoShaped is what a server takes for a discovery message: magic, sender key, nonce, box.
func discoShaped() []byte {
	return bytes.Join([][]byte{[]byte(disco.Magic), randomBytes(32), randomBytes(disco.NonceLen), randomBytes(64)}, nil)
}
