import { bindGateway } from './bindings.js'
import { describeSource } from './contract.js'

const binding = await bindGateway('tokens')
describeSource(binding, binding.close)
