import { bindGateway } from './bindings.js'
import { describeSource } from './contract.js'

const binding = await bindGateway('tokens and a service')
describeSource(binding, binding.close)
