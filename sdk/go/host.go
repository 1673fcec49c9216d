package keyway

import "fmt"

// Trace writes a line to the plugin's log; likewise Debug, Info, Warn and Error. The host cuts long lines and drops what exceeds the plugin's
// rate; logging never fails.
func Trace(line string, values ...any) { log(levelTrace, line, values) }

// Debug writes a line to the plugin's log.
func Debug(line string, values ...any) { log(levelDebug, line, values) }

// Info writes a line to the plugin's log.
func Info(line string, values ...any) { log(levelInfo, line, values) }

// Warn writes a line to the plugin's log.
func Warn(line string, values ...any) { log(levelWarn, line, values) }

// Error writes a line to the plugin's log.
func Error(line string, values ...any) { log(levelError, line, values) }

const (
	levelTrace uint8 = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
)

func log(level uint8, line string, values []any) {
	if len(values) > 0 {
		line = fmt.Sprintf(line, values...)
	}
	hostLog(level, wellFormed(line))
}

// Setting is the value under this name in the `[settings]` of the plugin's sidecar file, and whether there is one: a string as it is, any other value as JSON.
func Setting(name string) (string, bool) { return hostSetting(name) }

// Settings are all of them, sorted by name.
func Settings() [][2]string { return hostSettings() }
