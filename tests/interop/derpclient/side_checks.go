package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
)

const (
	stunRetryAfter = 500 * time.Millisecond
	challenge      = "derpclient.checks-204"
)

// httpProbe asks the side endpoints that clients use to measure latency and to find portals.
func (s *session) httpProbe(ctx context.Context) (string, error) {
	header := http.Header{"X-Tailscale-Challenge": {challenge}}
	for _, probe := range []struct {
		path   string
		status int
	}{
		{"derp/probe", http.StatusOK},
		{"derp/latency-check", http.StatusOK},
		{"generate_204", http.StatusNoContent},
		{"derp", http.StatusUpgradeRequired},
	} {
		response, _, err := s.target.get(ctx, probe.path, header)
		if err != nil {
			return "", fmt.Errorf("GET /%s: %w", probe.path, err)
		}
		if response.StatusCode != probe.status {
			return "", fmt.Errorf("GET /%s: status %d, want %d", probe.path, response.StatusCode, probe.status)
		}
		echo := response.Header.Get("X-Tailscale-Response")
		if probe.status == http.StatusNoContent && echo != "response "+challenge {
			return "", fmt.Errorf("GET /%s answered the challenge with %q", probe.path, echo)
		}
	}
	return "probe, latency-check, generate_204 and the refusal of a request without upgrade", nil
}

// derpMap checks that the server's own map would lead a client to this server.
func (s *session) derpMap(ctx context.Context) (string, error) {
	response, body, err := s.target.get(ctx, "derpmap", nil)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET /derpmap: status %d", response.StatusCode)
	}
	derpMap := new(tailcfg.DERPMap)
	if err := json.Unmarshal(body, derpMap); err != nil {
		return "", fmt.Errorf("not a DERP map: %w", err)
	}
	for id, region := range derpMap.Regions {
		if id != region.RegionID || len(region.Nodes) == 0 {
			return "", fmt.Errorf("region %d is filed under %d and has %d nodes", region.RegionID, id, len(region.Nodes))
		}
		for _, node := range region.Nodes {
			if err := s.checkNode(region, node); err != nil {
				return "", fmt.Errorf("node %q: %w", node.Name, err)
			}
		}
	}
	if len(derpMap.Regions) != 1 {
		return "", fmt.Errorf("%d regions instead of one", len(derpMap.Regions))
	}
	return strings.TrimSpace(string(body)), nil
}

func (s *session) checkNode(region *tailcfg.DERPRegion, node *tailcfg.DERPNode) error {
	if node.RegionID != region.RegionID {
		return fmt.Errorf("its RegionID is %d", node.RegionID)
	}
	if port := strconv.Itoa(node.DERPPort); port != s.target.base.Port() {
		return fmt.Errorf("its DERPPort is %s", port)
	}
	if s.target.isTLS() && node.CertName != s.target.region.Nodes[0].CertName {
		return fmt.Errorf("its CertName is %q", node.CertName)
	}
	_, stunPort, err := net.SplitHostPort(s.stunAddr)
	if err == nil && strconv.Itoa(node.STUNPort) != stunPort {
		return fmt.Errorf("its STUNPort is %d", node.STUNPort)
	}
	return nil
}

// stun asks for our own address; loopback does no translation, so the answer must be the socket's.
func (s *session) stun(ctx context.Context) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", s.stunAddr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	want := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	txID := stun.NewTxID()
	reply := make([]byte, 1500)
	for ctx.Err() == nil {
		if _, err := conn.Write(stun.Request(txID)); err != nil {
			return "", err
		}
		conn.SetReadDeadline(time.Now().Add(stunRetryAfter))
		size, err := conn.Read(reply)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil {
			return "", err
		}
		return checkSTUNReply(reply[:size], txID, want)
	}
	return "", errors.New("no answer")
}

func checkSTUNReply(reply []byte, txID stun.TxID, want netip.AddrPort) (string, error) {
	gotID, got, err := stun.ParseResponse(reply)
	if err != nil {
		return "", err
	}
	if gotID != txID {
		return "", errors.New("the answer has another transaction id")
	}
	if got != want {
		return "", fmt.Errorf("the answer says %v, the socket is %v", got, want)
	}
	return fmt.Sprintf("%v", got), nil
}
