//go:build !wasm

package keyway

import "fmt"

// Off wasm there is no host, so that a plugin's own tests run anywhere: lines go to the standard output, and there are no settings.

func hostLog(level uint8, line string) {
	fmt.Println([]string{"trace", "debug", "info", "warn", "error"}[level], line)
}

func hostSetting(string) (string, bool) { return "", false }

func hostSettings() [][2]string { return nil }
