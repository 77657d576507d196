import { describeRuntime } from './describe-runtime.js'
import { lacks } from './lacks.js'
import { startProcess } from './processes.js'

describeRuntime({ name: 'Bun', lacks: lacks.bun }, { skipped: 1 }, (stage) =>
  startProcess({ name: 'bun', version: '1.4.5', args: [] }, stage),
)
