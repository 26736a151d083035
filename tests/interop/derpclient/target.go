package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const customRegionID = 900 // the range 900-999 of region ids belongs to users

// target is the server under test and the ways to reach it.
type target struct {
	base   *url.URL
	region *tailcfg.DERPRegion // nil for plain HTTP, which a DERP map cannot express
	netMon *netmon.Monitor
}

func parseTarget(text, pin string) (*target, error) {
	base, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if base.Hostname() == "" || (base.Path != "" && base.Path != "/") {
		return nil, fmt.Errorf("%q is not of the form http://host:port or https://host:port", text)
	}
	t := &target{base: base, netMon: netmon.NewStatic()}
	switch base.Scheme {
	case "http":
		if pin != "" {
			return nil, errors.New("-pin needs an https URL")
		}
		return t, nil
	case "https":
		if pin == "" {
			return nil, errors.New("an https URL needs -pin: the server has a self-signed certificate")
		}
		port, err := strconv.Atoi(base.Port())
		if err != nil {
			return nil, fmt.Errorf("%q has no port", text)
		}
		t.region = pinnedRegion(base.Hostname(), port, pin)
		return t, nil
	}
	return nil, fmt.Errorf("%q is neither http nor https", text)
}

// pinnedRegion is the DERP map entry that a person would write for a self-hosted server.
func pinnedRegion(host string, port int, pin string) *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{
		RegionID:   customRegionID,
		RegionCode: "local",
		RegionName: "Local",
		Nodes: []*tailcfg.DERPNode{{
			Name:     "900a",
			RegionID: customRegionID,
			HostName: host,
			IPv4:     host,
			IPv6:     "none",
			DERPPort: port,
			CertName: "sha256-raw:" + pin,
		}},
	}
}

func (t *target) isTLS() bool { return t.region != nil }

// client makes a client as Tailscale's own programs do: by URL, or by a region of a DERP map.
func (t *target) client(private key.NodePrivate) (*derphttp.Client, error) {
	if t.isTLS() {
		region := func() *tailcfg.DERPRegion { return t.region }
		return derphttp.NewRegionClient(private, logger.Discard, t.netMon, region), nil
	}
	return derphttp.NewClient(private, t.base.JoinPath("derp").String(), logger.Discard, t.netMon)
}

// dial opens the bare byte stream below HTTP: TCP, or TLS with the pin checked.
func (t *target) dial(ctx context.Context) (net.Conn, error) {
	if !t.isTLS() {
		return new(net.Dialer).DialContext(ctx, "tcp", t.base.Host)
	}
	prober := derphttp.NewNetcheckClient(logger.Discard, t.netMon)
	conn, _, _, err := prober.DialRegionTLS(ctx, t.region)
	return conn, err
}

// get fetches one path over a connection of its own and returns status, headers and body.
func (t *target) get(ctx context.Context, path string, header http.Header) (*http.Response, []byte, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) }
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response, body, err
}
