#!/usr/bin/env node
// Runs what was built; in a checkout, "npx drover server" runs the source.
import '../dist/main.js';
