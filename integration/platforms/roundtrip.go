// Reads a domain or domain capabilities from standard input with libvirt's Go library for XML, as KubeVirt does, and
// writes them again. tools/platforms.sh builds it; tests/test_platforms.py runs it.
package main

import (
	"fmt"
	"io"
	"libvirtxml"
	"os"
	"strings"
)

func roundtrip(text string) (string, error) {
	var document libvirtxml.Document = &libvirtxml.Domain{}
	if strings.HasPrefix(strings.TrimSpace(text), "<domainCapabilities") {
		document = &libvirtxml.DomainCaps{}
	}
	if err := document.Unmarshal(text); err != nil {
		return "", err
	}
	return document.Marshal()
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		var again string
		if again, err = roundtrip(string(text)); err == nil {
			fmt.Println(again)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
