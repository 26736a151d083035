"""What every command uses: arguments, options, output, signals, logs."""
