#!/usr/bin/env node
// Runs what was built; in a checkout, "npx drover worker" runs the source.
import '../dist/main.js';
