import { bindGateway } from './bindings.js'
import { describeSource } from './contract.js'

const binding = await bindGateway('ids')
describeSource(binding, binding.close)
