import { describeRuntime } from './describe-runtime.js'
import { lacks } from './lacks.js'
import { startProcess } from './processes.js'

describeRuntime({ name: 'Deno', lacks: lacks.deno }, { skipped: 0 }, (stage) =>
  startProcess({ name: 'deno', version: '2.9.6', args: ['run', '--allow-all', '--node-modules-dir=manual'] }, stage),
)
