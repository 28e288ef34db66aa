//! scratch
mod stack; mod training;
use stack::*; use training::*;
fn main(){
    let args: Vec<f64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (turns, steps, lr)=(args[0],args[1] as usize,args[2]);
    let mut r=Random::new(1);
    let (points,classes)=spirals(512,turns,&mut r);
    for (skip,norm) in [(false,false),(false,true),(true,false),(true,true)] {
      for depth in [2,4,8,16,32,64] {
        let t=std::time::Instant::now();
        let mut l=vec![];let mut a=vec![];let mut g=vec![];
        for seed in 0..2 {
            let mut r=Random::new(100+seed);
            let mut s=Stack::new(Form{depth,skip,norm},&mut r);
            let all=[0..s.parameters.values.len()];
            let c=s.forward(&points); s.backward(&points,&classes,&c);
            g.push(s.parameters.gradient_norm(&s.blocks[0].linear.range)); s.parameters.gradients.fill(0.0);
            let mut order=vec![];
            for step in 0..steps {
                if order.len()<128 {order=r.order(512);}
                let b: Vec<usize>=order.drain(..128).collect();
                let p: Vec<f32>=b.iter().flat_map(|i| [points[2*i],points[2*i+1]]).collect();
                let k: Vec<usize>=b.iter().map(|i| classes[*i]).collect();
                let c=s.forward(&p); s.backward(&p,&k,&c);
                let warm=((step+1) as f64/(0.1*steps as f64)).min(1.0);
                s.parameters.step(lr*warm*(1.0-step as f64/steps as f64),&all);
            }
            let c=s.forward(&points); let (x,y)=s.backward(&points,&classes,&c);
            l.push(x);a.push(y);
        }
        println!("skip {skip} norm {norm} depth {depth:3}: loss {:.4}±{:.4} acc {:.3}±{:.3} grad {:.2e} {:.2e}  {:.1}s",spread(&l).0,spread(&l).1,spread(&a).0,spread(&a).1,g[0],g[1],t.elapsed().as_secs_f64());
      }
    }
}
